// Package supervise starts plugins when they are needed, attaches to owners,
// watches over both, and ends what it has started.
//
// A process of a plugin serves one lease at a time, so that one which dies, or
// has to be killed, takes no store with it but the one that it works on.
package supervise
