-- How gRPC and protobuf lay out a message; put in front of both filters.
--
-- A message of gRPC is five bytes (a flag for compression, the length in big endian) and protobuf:
-- fields, each a key (number * 8 + wire type) and its content.

local FIRST = 6 -- where protobuf begins

local function varint(text, at)
  local value, scale = 0, 1
  for _ = 1, 10 do
    local byte = text:byte(at)
    if byte == nil then return nil, at end
    at = at + 1
    value = value + (byte % 128) * scale
    if byte < 128 then return value, at end
    scale = scale * 128
  end
  return nil, at
end

-- Where a field's content ends, by its wire type, and where its text begins if it has any; nil if
-- it is no field.
local function field_end(text, at, wire)
  if wire == 0 then
    local value, after = varint(text, at)
    return value and after
  elseif wire == 1 then
    return at + 8
  elseif wire == 5 then
    return at + 4
  elseif wire == 2 then
    local length, after = varint(text, at)
    return length and after + length, after
  end
  return nil
end

-- Calls `visit` with the number of each field that is a text, and where it begins and ends, from
-- `at` to `last`. False if that is no protobuf.
local function each_text(text, at, last, visit)
  while at <= last do
    local key, start = varint(text, at)
    if key == nil or key >= 4294967296 then return false end -- Java reads its last 32 bits alone
    local stop, content = field_end(text, start, key % 8)
    if stop == nil or stop > last + 1 then return false end
    if content ~= nil then visit(math.floor(key / 8), content, stop - 1) end
    at = stop
  end
  return true
end

-- The texts of a message's fields by number; of one that comes twice the last holds. Nil if it, or
-- an entry of the map of that number, is no protobuf or holds a group.
local function read_message(text, map)
  local found, entries_are_whole = {}, true
  local is_whole = each_text(text, FIRST, #text, function(number, from, to)
    found[number] = { from, to }
    if number == map and not each_text(text, from, to, function() end) then
      entries_are_whole = false
    end
  end)
  if not (is_whole and entries_are_whole) then return nil end
  return function(number)
    local place = found[number]
    return place and text:sub(place[1], place[2]) or ""
  end
end

-- The value of a key in a map of texts, a field of that number; nil if it has no such key.
local function map_value(text, number, key)
  local found = nil
  each_text(text, FIRST, #text, function(field, from, to)
    if field ~= number then return end
    local name, value = "", ""
    each_text(text, from, to, function(part, first, last)
      if part == 1 then name = text:sub(first, last) end
      if part == 2 then value = { first, last } end
    end)
    if name == key then found = value end
  end)
  if found == nil or found == "" then return found end
  return text:sub(found[1], found[2])
end

local function with_length(value)
  local length = #value
  if length < 128 then return string.char(length) .. value end
  return string.char(length % 128 + 128, math.floor(length / 128)) .. value
end

-- An entry of a map of texts.
local function map_entry(key, value)
  return string.char(10) .. with_length(key) .. string.char(18) .. with_length(value)
end

-- The message with one more field of text (at most 16,383 bytes) behind all that it holds: legal
-- protobuf, where the last value of a field counts.
local function with_field(text, number, value)
  local message = text:sub(FIRST) .. string.char(number * 8 + 2) .. with_length(value)
  local length = #message
  return string.char(
    0,
    math.floor(length / 16777216) % 256,
    math.floor(length / 65536) % 256,
    math.floor(length / 256) % 256,
    length % 256
  ) .. message
end
