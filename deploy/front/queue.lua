-- The queue before the workers. HAProxy has none before a backend whose servers are all down, and a busy worker is down
-- to it. A job waits here until it is given a worker that is idle; each idle worker is given to one job.

local longest = 600 -- seconds that a job waits
local short = 20    -- seconds that anything else waits for any worker
local pause = 50    -- milliseconds between two looks at the workers
local grace = 2     -- seconds in which a worker that was given a job must be seen busy

local waiting = {}  -- tickets in the order of their coming
local first, last = 1, 0
local given = {}    -- by server: the address and the time it was given away at

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
	return g == nil or g.address ~= stats["addr"] or now() - g.time > grace
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
			given[name] = { address = server:get_stats()["addr"], time = now() }
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

local function any()
	for _, server in pairs(core.backends["workers"].servers) do
		if server:get_stats()["status"]:sub(1, 2) == "UP" then
			return true
		end
	end
	return false
end

-- wait_for_any holds a request while all of a few workers are between two jobs, for a moment.
core.register_action("wait_for_any", { "http-req" }, function()
	local deadline = now() + short
	while not any() and now() < deadline do
		core.msleep(pause)
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
