// Package provider says what the pool needs of whoever starts and ends machines: Provider. Its implementations are local (child
// processes), exec (commands of the user) and ec2.
//
// An instance is one machine or process that runs, or is to run, one node. It is named twice: by the provider's ID, and by the Token
// under which it was asked for. Everything that was started for a cluster is found again through List, whoever asks.
//
// What every Provider guarantees, and providertest checks: Launch with a token that was used gives that instance and starts no other;
// Terminate of what is gone is no error; List has everything of the cluster that has not ended, of this cluster alone; errors that
// say when to try again are an *Error.
package provider
