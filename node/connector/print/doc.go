// Package print is the sink that shows rows to a person: Flink's connector of that name. A line is "+I[1, a]", with -D for a
// retraction, and -U and +U for a retraction directly followed by its insert; or, with 'format' = 'json', an object that also
// names the epoch.
//
// Rows are shown when their epoch is committed, from a buffer of at most 64 MB for each lane; what is more is shown before. At
// least once: after a failure rows since the last checkpoint may be shown again, in the same order and with the same epoch.
//
// Lines are whole: what several lanes write to one output never mixes within a line. The order of lanes' lines is not fixed.
package print
