const $ = (selector, within = document) => within.querySelector(selector);

let status = null;
let image = null; // the File on show
let round = 0; // answers to an earlier image are dropped

async function ask(path, body) {
  const response = await fetch(path, body ? { method: "POST", body } : {});
  const document = await response.json();
  if (!response.ok) throw new Error(`${document.message} (${document.code})`);
  return document;
}

function chosen() {
  return status?.models.find((model) => model.name === $("#model").value);
}

async function refresh() {
  const line = $("#server");
  try {
    status = await ask("/api/status");
    line.textContent = status.ready ? `${status.url} is ready` : `${status.url}: ${status.reason}`;
    line.classList.toggle("bad", !status.ready);
    showModels();
  } catch (error) {
    line.textContent = error.message;
    line.classList.add("bad");
  }
}

function showModels() {
  const select = $("#model");
  const names = status.models.map((model) => model.name);
  if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
    select.replaceChildren(...names.map((name) => new Option(name)));
  }
  showSplit();
}

function showSplit() {
  const arms = Object.entries(status.splits?.[$("#model").value] ?? {});
  $("#split").hidden = arms.length === 0;
  $("#split .bar").replaceChildren(
    ...arms.map(([version, weight]) => {
      const part = document.createElement("span");
      part.style.flexGrow = weight;
      part.textContent = `${version}: ${weight}%`;
      return part;
    }),
  );
}

function show(file) {
  if (!file) return;
  image = file;
  const preview = $("#preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = file.name;
  preview.hidden = false;
  const size = file.size < 1024 ? `${file.size} bytes` : `${(file.size / 1024).toFixed(1)} KB`;
  $("#about").textContent = `${file.name}, ${size}`;
  classify();
}

function classify() {
  const model = chosen();
  if (!image || !model) return;
  round += 1;
  $("#answers").replaceChildren(...model.versions.map((version) => card(version)));
  showRequests(model);
}

function card(version) {
  const article = $("#answer").content.cloneNode(true).firstElementChild;
  const path = [version.name, version.version].map(encodeURIComponent).join("/");
  $(".version", article).textContent = `${version.name} ${version.version}`;
  $(".note", article).textContent = "asking…";
  const mine = round;
  const fail = (error) => {
    const line = $(".error", article);
    line.textContent = error.message;
    line.hidden = false;
  };
  ask(`/api/predict/${path}`, image).then(
    (answer) => {
      if (mine !== round) return;
      const role = version.is_default ? ", default" : "";
      $(".note", article).textContent = `${answer.milliseconds.toFixed(1)} ms${role}`;
      $("ol", article).append(...answer.predictions.map(row));
      $(".explain", article).hidden = false;
    },
    (error) => {
      $(".note", article).textContent = "";
      fail(error);
    },
  );
  $(".explain", article).addEventListener("click", async (event) => {
    event.target.disabled = true;
    try {
      const answer = await ask(`/api/explain/${path}`, image);
      const explanation = $(".explanation", article);
      const heatmap = $(".heatmap", explanation);
      heatmap.src = `data:image/png;base64,${answer.heatmap}`;
      $(".legend", explanation).textContent = `Red speaks for ${answer.label}, blue against it.`;
      await heatmap.decode();
      explanation.hidden = false;
      event.target.hidden = true;
      if (document.activeElement === document.body) explanation.focus(); // the button had it
    } catch (error) {
      event.target.disabled = false;
      fail(error);
    }
  });
  return article;
}

function row({ label, probability }) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  const percent = document.createElement("span");
  const meter = document.createElement("meter");
  name.textContent = label;
  percent.textContent = `${(probability * 100).toFixed(1)}%`;
  meter.value = probability;
  meter.setAttribute("aria-label", label);
  item.append(name, percent, meter);
  return item;
}

// As a word of the shell.
const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

function showRequests(model) {
  const file = status.token_file; // null: the server asks for no token, or the page was given none
  const path = `${status.url}/predictions/${encodeURIComponent(model.name)}`;
  const header = file ? ` -H "Authorization: Bearer $(marina token --token-file ${quoted(file)})"` : "";
  $("#curl").textContent = `curl -X POST${header} -T ${quoted(image.name)} ${path}`;
  const token = file ? `, token=Path(${JSON.stringify(file)})` : "";
  $("#python").textContent = [
    ...(file ? ["from pathlib import Path", ""] : []),
    "from marina.client import Client",
    "",
    `with Client(${JSON.stringify(status.url)}${token}) as client:`,
    `    best = client.predict(${JSON.stringify(image.name)}, model=${JSON.stringify(model.name)})[0]`,
    "    print(best.label, best.probability)",
  ].join("\n");
  $("#requests").hidden = false;
}

const drop = $("#drop");
$("#preview").addEventListener("error", (event) => { event.target.hidden = true; });
$("#file").addEventListener("change", (event) => show(event.target.files[0]));
$("#model").addEventListener("change", () => { showSplit(); classify(); });
document.addEventListener("paste", (event) => show(event.clipboardData.files[0]));
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") show(event.dataTransfer.files[0]);
  });
}
for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText($(`#${button.dataset.copies}`).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
await refresh();
setInterval(refresh, 5000);
