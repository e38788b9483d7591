package remote

// UserFor is userFor, which the hosts that matter cannot be asked about in a test.
var UserFor = userFor
