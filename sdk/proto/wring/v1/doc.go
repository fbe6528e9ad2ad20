// Package wringv1 is the wire form of the contract between the host and the
// backends, generated from wring.proto. Backends in Go use package sdk instead.
package wringv1
