// Package local starts nodes as child processes of this one, for laptops and tests.
//
// Every instance has a directory below Config.Dir and the cluster's name, with its state, its log and its data, which goes, when it has
// ended, with the next launch or termination, unless something on it is still needed: then Revive starts it again. What runs is found
// again through these files by any process of the machine: by process id, the time at which the process started and the machine's boot
// id, so that another process with the same id is not mistaken for it. Children end with their parent: their standard input is a pipe
// from it.
package local
