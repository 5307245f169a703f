-- Sends a request to the arm that its route has chosen, and says of the answer what the access log
-- and the client should know. The chosen arm comes as the route's filter context, {model, version,
-- sticky, kind}; a route without one is no arm's.

local PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
local MODEL_VERSION = 2 -- of PredictionsRequest
local PREDICTION = 1 -- of PredictionResponse

-- TorchServe says 503 and this of a full queue as of a model without a worker.
local NO_WORKER = "has no worker"
local QUEUE_FULL = {
  status = "429",
  type = "QueueFullException",
  message = "more requests wait for this model than its queue holds: try again later",
  grpc_status = "8", -- RESOURCE_EXHAUSTED
}
local WORKERLESS = {
  status = "503",
  type = "NoWorkerException",
  message = "no worker of this model is ready: try again later, or scale it up",
  grpc_status = "14", -- UNAVAILABLE
}

-- TorchServe says 500 and this, with what it was sent, of a form that it cannot read.
local UNREADABLE = "ErrorDataDecoderException"
local BAD_FORM = {
  status = "400",
  type = "BadRequestException",
  message = "expected an image as the body, or multipart/form-data with a field named data",
}

-- A user is known in the log by a hash alone (FNV-1a of 32 bits).
local function hash(text)
  local value = 2166136261
  for at = 1, #text do
    value = bit.bxor(value, text:byte(at))
    -- times 16777619 (2^24 + 2^8 + 147), in parts that a double holds exactly
    value = bit.tobit(bit.lshift(value, 24) + bit.lshift(value, 8) + value * 147)
  end
  return bit.tohex(value)
end

local function is_grpc(headers)
  return (headers:get("content-type") or ""):sub(1, 16) == "application/grpc"
end

local function name_rest(headers, metadata)
  local model, version = headers:get(":path"):match("^/%a+/([^/?]+)/?([^/?]*)")
  if model == nil then return end
  headers:replace("x-marina-model", model)
  metadata:set("marina", "model", model)
  if version ~= "" then metadata:set("marina", "version", version) end
end

local function send_to(handle, headers, model, version)
  if is_grpc(headers) then
    local body = handle:body()
    body:setBytes(with_field(body:getBytes(0, body:length()), MODEL_VERSION, version))
  else
    local query = headers:get(":path"):match("%?.*$") or ""
    headers:replace(":path", "/predictions/" .. model .. "/" .. version .. query)
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local metadata = handle:streamInfo():dynamicMetadata()
  local arm = handle:filterContext()
  headers:remove("x-marina-arm") -- a client's own
  headers:remove("x-marina-shadow") -- it has served to choose the route
  headers:remove("explain") -- TorchServe sets it on what comes to /explanations; nobody else may
  metadata:set("marina", "path", headers:get(":path"))
  if not is_grpc(headers) then name_rest(headers, metadata) end
  local version = arm:get("version")
  if version == nil then return end
  local sticky = arm:get("sticky")
  local user = sticky and headers:get(sticky)
  if user then metadata:set("marina", "user", hash(user)) end
  metadata:set("marina", "model", arm:get("model"))
  metadata:set("marina", "arm", version)
  metadata:set("marina", "kind", arm:get("kind"))
  headers:replace("x-marina-arm", version)
  local model, kept_percent = arm:get("model"), arm:get("keep")
  if kept_percent then keep_image(handle, tonumber(kept_percent), is_grpc(headers)) end
  send_to(handle, handle:headers(), model, version) -- `headers` is void if the image was waited for
end

local function text_of(handle)
  local body = handle:body()
  return body and body:getBytes(0, body:length()) or ""
end

-- The handler percent-encodes a label for its header over REST.
local function encode(text)
  return (text:gsub("[^%w_.~-]", function(c) return string.format("%%%02X", c:byte()) end))
end

-- A string of JSON that begins behind its opening quote, and where it ends.
local function json_string(text, at)
  local parts = {}
  while true do
    local stop = text:find('["\\]', at)
    if stop == nil then return nil end
    parts[#parts + 1] = text:sub(at, stop - 1)
    if text:byte(stop) == 34 then return table.concat(parts), stop + 1 end
    local escaped = text:sub(stop + 1, stop + 1)
    if escaped == "u" then -- the handler escapes control characters alone
      parts[#parts + 1] = string.char(tonumber(text:sub(stop + 4, stop + 5), 16) or 63)
      at = stop + 6
    else
      parts[#parts + 1] = ({ n = "\n", t = "\t", r = "\r", b = "\b", f = "\f" })[escaped] or escaped
      at = stop + 2
    end
  end
end

-- What the handler says in headers over REST, read from its answer, since TorchServe drops those over
-- gRPC. The answer is {"model", "version", "predictions": [{"label", "index", "probability"}]}, or
-- {label: probability}, or an error's {"code"}; the likeliest comes first.
local function read_answer(text)
  local code = text:match('^{"code": (%d+)')
  if code then return { code = tonumber(code) } end
  local found, at, _ = {}, nil, nil
  _, at = text:find('^{"model": "')
  if at then
    _, at = json_string(text, at + 1)
    found.version = at and text:match('^, "version": "([^"\\]*)"', at)
    _, at = text:find('"predictions": [{"label": "', at or 1, true)
  else
    _, at = text:find('^{"')
  end
  if at == nil then return found end
  local label, after = json_string(text, at + 1)
  if label == nil then return found end
  found.confidence = text:match("^: ([%d.eE+-]+)", after)
    or text:match('^, "index": %d+, "probability": ([%d.eE+-]+)', after)
  found.top1 = found.confidence and encode(label)
  return found
end

-- Which of the two it is, Marina knows. It is asked at most once a second for each version, by each
-- of Envoy's threads: a full queue comes with many requests.
local NEWS_S = 1
local ASK_TIMEOUT_MS = 2000
local news = {} -- by path: when it was asked, and whether a worker is ready

local function has_worker(handle)
  local request = handle:streamInfo():dynamicMetadata():get("marina")
  if request == nil or request.model == nil then return true end
  local version = request.arm or request.version
  local path = "/ready/" .. request.model .. (version and "/" .. version or "")
  if news[path] == nil or os.time() - news[path].at >= NEWS_S then
    local asked = { [":method"] = "GET", [":path"] = path, [":authority"] = "marina" }
    local answer = handle:httpCall("ready", asked, "", ASK_TIMEOUT_MS)
    news[path] = { at = os.time(), is_ready = answer == nil or answer[":status"] ~= "503" }
  end
  return news[path].is_ready
end

local function refusal(handle)
  return has_worker(handle) and QUEUE_FULL or WORKERLESS
end

-- What came with an object of Envoy's is void once the script has waited: each is asked for anew behind
-- `text_of` and `refusal`.

-- Where an answer's status and message stand: in its headers if it has nothing else.
local function ending_of(handle)
  if handle:headers():get("grpc-status") ~= nil then return handle:headers() end
  return handle:trailers()
end

local function read_grpc(handle)
  local request = handle:streamInfo():dynamicMetadata():get("marina")
  if request == nil or request.path ~= PREDICTIONS then return end
  local text = text_of(handle)
  local field = text:byte(1) == 0 and read_message(text)
  local found = field and read_answer(field(PREDICTION)) or {}
  for _, name in ipairs({ "top1", "confidence", "version" }) do
    if found[name] then handle:headers():replace("x-marina-" .. name, found[name]) end
  end
  if found.code then handle:streamInfo():dynamicMetadata():set("marina", "code", found.code) end
end

local function answer_grpc(handle)
  if handle:headers():get("grpc-status") == nil then read_grpc(handle) end
  local ending = ending_of(handle)
  if not (ending and (ending:get("grpc-message") or ""):find(NO_WORKER, 1, true)) then return end
  local refused = refusal(handle)
  ending = ending_of(handle)
  ending:replace("grpc-status", refused.grpc_status)
  ending:replace("grpc-message", refused.message .. "%0Amarina.gateway." .. refused.type)
end

local function answer_instead(handle, refused)
  local body = string.format(
    '{"code": %s, "type": "%s", "message": "%s"}', refused.status, refused.type, refused.message
  )
  local headers = handle:headers()
  headers:replace(":status", refused.status)
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(#body))
  handle:body():setBytes(body)
end

local function answer_rest(handle, status)
  if status == "500" and text_of(handle):find(UNREADABLE, 1, true) then
    answer_instead(handle, BAD_FORM)
  elseif status == "503" and text_of(handle):find(NO_WORKER, 1, true) then
    answer_instead(handle, refusal(handle))
    handle:headers():replace("retry-after", "1")
  end
end

function envoy_on_response(handle)
  if is_grpc(handle:headers()) then
    answer_grpc(handle)
  else
    answer_rest(handle, handle:headers():get(":status"))
  end
end
