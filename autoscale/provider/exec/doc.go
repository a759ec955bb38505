// Package exec starts and ends nodes through three commands of the user: launch, terminate and list.
//
// Each is run with a JSON object on its standard input and answers with one on its standard output; anything for people goes to its
// standard error, whose last line is shown when it fails. Unknown fields are to be passed over. It gets 60 s.
//
//	launch     in   {"cluster": "4f1c...", "token": "4f1c-7", "join": ["10.0.0.1:7601"]}
//	           out  {"id": "vm-12", "state": "pending"}
//	terminate  in   {"cluster": "4f1c...", "ids": ["vm-12"]}
//	           out  nothing, or {}
//	list       in   {"cluster": "4f1c..."}
//	           out  {"instances": [{"id": "vm-12", "token": "4f1c-7", "state": "running", "launched_ms": 1767225600000}]}
//
// State is pending, running, stopping (it ends) or stopped (it does not run, and its disk is there and paid for); zone, spot and address may
// be given too. What launch starts must run
//
//	seepnode agent --join ... --instance ID-OR-TOKEN --tag role=worker
//
// so that the node is known for what it is, and comes and goes without a change of who votes. The rules: launch with a token that was used
// gives that instance and starts no other; terminate passes over what is gone; list gives everything of the cluster that has not ended,
// however it was started.
//
// Exit 0 is success. Otherwise the answer may be {"error": "...", "kind": "capacity"}: capacity, quota, throttled and denied say when it
// makes sense to try again; without it exit code 75 (EX_TEMPFAIL) is throttled and everything else "other".
//
// scripts/provider-exec/provider is an example; the README beside it says all this to those who have no source.
package exec
