-- gRPC alone: which model and version a request is for stands in its message, where no route can
-- see it. This filter reads them there and, where the message names no version, sets x-marina-model
-- for the routes of a split to match. (Setting a header clears the route, which is found anew.)
-- An image has one answer, so a call of StreamPredictions becomes one of Predictions: on the wire they
-- are the same. TorchServe's own streams end the worker of a handler that sends no part of its answer
-- before the rest (a NullPointerException in WorkerThread, 0.12.0).
-- A message with a group, which none of TorchServe's has, goes no further: its protobuf reads groups
-- in a map's entry by recursion without an end (CVE-2024-7254).
-- TorchServe hands no header of gRPC's to a handler, so the request's id becomes a field of its
-- input.

local SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/"
local PREDICTIONS, STREAM = SERVICE .. "Predictions", SERVICE .. "StreamPredictions"
local MODEL_NAME, MODEL_VERSION, INPUT = 1, 2, 3 -- of PredictionsRequest
local ID_NAME, LONGEST_ID = "x-request-id", 128 -- as in handlers/request.py

-- As gRPC's specification of compression has it for a coding that is not supported.
local COMPRESSED = "compressed messages are not accepted: send it without grpc-encoding"

-- What asks for an explanation over gRPC; EXPLANATIONS says whether it may (listeners.py).
local EXPLAIN = "explain"
local EXPLANATIONS_ARE_OFF = "explanations are off: serve with --explanations"

local NO_MESSAGE = "expected a PredictionsRequest in protobuf, without groups"

local UNIMPLEMENTED, INVALID_ARGUMENT = "12", "3"

local function refuse(handle, status, why)
  handle:respond({ [":status"] = "200", ["content-type"] = "application/grpc",
    ["grpc-status"] = status, ["grpc-accept-encoding"] = "identity" }, why)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("x-marina-model") -- a client's own
  if headers:get(":path") == STREAM then headers:replace(":path", PREDICTIONS) end
  if headers:get(":path") ~= PREDICTIONS then return end
  local body = handle:body()
  if body == nil then return end
  local text = body:getBytes(0, body:length())
  if text:byte(1) ~= 0 then
    refuse(handle, UNIMPLEMENTED, COMPRESSED)
    return
  end
  local field = read_message(text, INPUT)
  if field == nil then
    refuse(handle, INVALID_ARGUMENT, NO_MESSAGE)
    return
  end
  if not EXPLANATIONS and map_value(text, INPUT, EXPLAIN) then
    refuse(handle, UNIMPLEMENTED, EXPLANATIONS_ARE_OFF)
    return
  end
  local id = handle:headers():get(ID_NAME)
  if id then
    body:setBytes(with_field(text, INPUT, map_entry(ID_NAME, id:sub(1, LONGEST_ID))))
  end
  local model = field(MODEL_NAME)
  if not model:match("^%w[%w_.-]*$") then return end
  local version = field(MODEL_VERSION)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("marina", "model", model)
  if version ~= "" then
    metadata:set("marina", "version", version)
  else
    handle:headers():replace("x-marina-model", model) -- `headers` is void since the wait for body()
  end
end
