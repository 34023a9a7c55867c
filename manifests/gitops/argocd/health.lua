-- Health of IPNetworks, IPPools and IPClaims. Lua 5.1 without libraries: Argo CD gives a health check no others.

local status = obj.status or {}
local holds = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" then
    holds[condition.type] = condition.message
  end
end

local function health(name, message)
  return { status = name, message = message }
end

if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", holds.Reconciling or "is being deleted")
end
if status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", holds.Reconciling or "the newest spec is not answered yet")
end
-- Before Ready, which stays True after a refused edit because the last accepted spec serves on: what Git says is not
-- in force, and only another commit can help. `Healthy` would pass that commit off as rolled out.
if holds.Stalled ~= nil then
  return health("Degraded", holds.Stalled)
end
if holds.Reconciling ~= nil then
  return health("Progressing", holds.Reconciling)
end
if holds.Ready ~= nil then
  return health("Healthy", holds.Ready)
end
return health("Progressing", "is not ready yet")
