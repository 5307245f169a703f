-- Copies alone: keeps the image of some of them, where a split asks for it, until a rollout has seen
-- whether the two versions disagree (marina/gateway/kept_images.py). IMAGES is the folder.

local PREDICTION_INPUT = 3 -- of PredictionsRequest
local KINDS = { ["\137PNG"] = ".png", ["\255\216\255"] = ".jpg" }

local function kind_of(image)
  for beginning, suffix in pairs(KINDS) do
    if image:sub(1, #beginning) == beginning then return suffix end
  end
end

local function image_in(handle, is_grpc_request)
  local body = handle:body()
  local text = body and body:getBytes(0, body:length()) or ""
  if not is_grpc_request then return text end
  return map_value(text, PREDICTION_INPUT, "data") or map_value(text, PREDICTION_INPUT, "body") or ""
end

-- A client may choose its request's id, and so the file's name: letters, digits and dashes alone.
function keep_image(handle, percent, is_grpc_request)
  local id = handle:headers():get("x-request-id") or ""
  if math.random(100) > percent or #id > 64 or not id:match("^[%w-]+$") then return end
  local image = image_in(handle, is_grpc_request)
  local suffix = kind_of(image)
  if suffix == nil then return end
  local name = IMAGES .. "/" .. id .. suffix
  local file = io.open(name .. ".tmp", "wb")
  if file == nil then return end
  local is_whole = file:write(image)
  file:close()
  if is_whole then os.rename(name .. ".tmp", name) end
end
