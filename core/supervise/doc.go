// Package supervise starts plugins when they are needed, attaches to owners,
// watches over both, and ends what it has started.
package supervise
