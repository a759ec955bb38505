// Package discovery finds nodes to join from what --join says:
//
//	HOST, HOST:PORT                                      that
//	dns:NAME:PORT, dns:NAME                              the addresses of a name, all of them
//	dns:_SERVICE._tcp.NAME                               the hosts and ports of its SRV records
//	file:PATH                                            the lines of a file, HOST or HOST:PORT each; # begins a comment
//	provider=aws tag_key=K tag_value=V [region=R] ...    the running instances of EC2 with a tag
//
// Everything is looked up anew at each attempt to join, so that nodes may come later; what EC2 answered is kept for half a minute.
//
// It guarantees: a mistake in what is given is found by Check, before anything is asked; errors say what was looked for and what to do.
package discovery
