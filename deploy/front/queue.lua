-- The queue before the workers. HAProxy has none before a backend whose servers are all down, and a busy worker is down
-- to it. A job waits here until it is given a worker that is idle; each idle worker is given to one job.

local longest = 600 -- seconds that a job waits; aicw waits a minute longer
local short = 20    -- seconds that anything else waits for any worker
local pause = 50    -- milliseconds between two looks at the workers
local grace = 2     -- seconds in which a worker that was given a job must be seen busy

local waiting = {}  -- tickets in the order of their coming
local first, last = 1, 0
local given = {}    -- by server: the address and the time it was given away at, and how many requests it had then

local function now()
	local t = core.now()
	return t.sec + t.usec / 1e6
end

-- free tells whether a server is a worker that no job was given.
local function free(name, server)
	local stats = server:get_stats()
	if stats["status"]:sub(1, 2) ~= "UP" then
		given[name] = nil
		return false
	end
	local g = given[name]
	if g == nil or g.address ~= stats["addr"] then
		return true
	end
	-- A job that is still being sent does not make its worker busy yet.
	return now() - g.time > grace and tonumber(stats["scur"]) <= g.requests
end

-- take removes the oldest ticket that is still waited for.
local function take()
	while first <= last do
		local ticket = waiting[first]
		waiting[first] = nil
		first = first + 1
		if not ticket.over then
			return ticket
		end
	end
end

local function hand_out()
	for name, server in pairs(core.backends["jobs"].servers) do
		if first > last then
			return
		end
		if free(name, server) then
			local ticket = take()
			if ticket == nil then
				return
			end
			local stats = server:get_stats()
			given[name] = { address = stats["addr"], time = now(), requests = tonumber(stats["scur"]) }
			ticket.server = name
		end
	end
end

core.register_task(function()
	while true do
		hand_out()
		core.msleep(pause)
	end
end)

-- answers tells whether somebody listens at a worker's address now: one whose job has ended is up to HAProxy for a moment more.
local function answers(address)
	local host, port = address:match("^(.*):(%d+)$")
	local socket = core.tcp()
	socket:settimeout(1)
	local connected = socket:connect(host, tonumber(port))
	socket:close()
	return connected ~= nil
end

local turn = 0

-- any names a worker that can be asked, another one each time.
local function any()
	local up = {}
	for name, server in pairs(core.backends["workers"].servers) do
		local stats = server:get_stats()
		if stats["status"]:sub(1, 2) == "UP" then
			up[#up + 1] = { name = name, address = stats["addr"] }
		end
	end
	for _ = 1, #up do
		turn = turn + 1
		local one = up[turn % #up + 1]
		if answers(one.address) then
			return one.name
		end
	end
end

-- wait_for_any puts the name of any worker into txn.worker. All of a few may be between two jobs, so it waits a moment.
core.register_action("wait_for_any", { "http-req" }, function(txn)
	local deadline = now() + short
	local name = any()
	while name == nil and now() < deadline do
		core.msleep(pause)
		name = any()
	end
	if name ~= nil then
		txn:set_var("txn.worker", name)
	end
end)

-- wait_for_worker puts the name of an idle worker into txn.worker; after the longest wait there is none.
core.register_action("wait_for_worker", { "http-req" }, function(txn)
	local ticket = {}
	last = last + 1
	waiting[last] = ticket
	local deadline = now() + longest
	while ticket.server == nil and now() < deadline do
		core.msleep(pause / 2)
	end
	ticket.over = true
	if ticket.server ~= nil then
		txn:set_var("txn.worker", ticket.server)
	end
end)
