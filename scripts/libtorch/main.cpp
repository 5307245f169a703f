// Classify one image tensor with a model.pt of `marina export`, without Python.
//
//   classify MODEL.pt IMAGE.pt
//
// IMAGE.pt is a normalized image (1, C, crop, crop), float32, as prepare.py writes it.
// Prints the class's index, its probability and its label, with tabs between.
//
// Exit codes: 2 usage, 3 the model, 4 the image, 5 the model on this image.

#include <torch/script.h>

#include <fstream>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// What goes wrong for a user: its cause in one line, and the exit code.
struct Failure : std::runtime_error {
  Failure(int code, const std::string& cause) : std::runtime_error(cause), code(code) {}
  int code;
};

struct Model {
  torch::jit::Module module;
  std::vector<std::string> labels;
  double temperature;
};

// torch's messages go on with a C++ stack; the first line is the cause.
std::string cause(const c10::Error& err) {
  const std::string text = err.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

std::vector<char> read_file(const std::string& path, int code) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file || bytes.empty()) throw Failure(code, "cannot read " + path + ": missing or empty");
  return bytes;
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> found;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) found.push_back(line);
  return found;
}

Model load_model(const std::string& path) {
  read_file(path, 3);
  torch::jit::ExtraFilesMap extra{{"labels.txt", ""}, {"temperature.txt", ""}};
  try {
    auto module = torch::jit::load(path, torch::kCPU, extra);
    module.eval();
    if (extra["labels.txt"].empty() || extra["temperature.txt"].empty()) {
      throw Failure(3, path + " carries no labels: it is not a model.pt of `marina export`");
    }
    return {module, lines(extra["labels.txt"]), std::stod(extra["temperature.txt"])};
  } catch (const c10::Error& err) {
    throw Failure(3, path + " is not TorchScript: " + cause(err));
  }
}

torch::Tensor load_image(const std::string& path) {
  const auto bytes = read_file(path, 4);
  torch::IValue value;
  try {
    value = torch::jit::pickle_load(bytes);
  } catch (const std::exception&) {
    throw Failure(4, path + " is not a tensor that torch.save wrote");
  }
  if (!value.isTensor()) throw Failure(4, path + " holds a " + value.tagKind() + ", not a tensor");
  const auto image = value.toTensor();
  if (image.dim() != 4 || image.size(0) != 1 || image.scalar_type() != torch::kFloat) {
    std::ostringstream shape;
    shape << image.scalar_type() << " " << image.sizes();
    throw Failure(4, path + ": expected Float [1, C, crop, crop], got " + shape.str());
  }
  return image;
}

torch::Tensor logits_of(Model& model, const torch::Tensor& image) {
  try {
    const c10::InferenceMode guard;
    return model.module.forward({image}).toTensor();  // (1, classes)
  } catch (const std::exception&) {
    std::ostringstream shape;
    shape << image.sizes();
    throw Failure(5, "the model does not take an image of shape " + shape.str());
  }
}

void classify(const std::string& model_path, const std::string& image_path) {
  auto model = load_model(model_path);
  const auto logits = logits_of(model, load_image(image_path));
  const auto probabilities = (logits / model.temperature).softmax(1)[0];  // (classes,)
  const auto index = probabilities.argmax().item<int64_t>();
  std::cout << index << '\t' << std::setprecision(9) << probabilities[index].item<float>() << '\t'
            << model.labels.at(static_cast<size_t>(index)) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: classify MODEL.pt IMAGE.pt\n";
    return 2;
  }
  try {
    classify(argv[1], argv[2]);
    return 0;
  } catch (const Failure& failure) {
    std::cerr << "error: " << failure.what() << '\n';
    return failure.code;
  } catch (const std::exception& err) {
    std::cerr << "error: " << err.what() << '\n';
    return 1;
  }
}
