// Package browser holds tests that look at the dashboard as people do: with a
// real browser, on a real host with real stores. It is a module of its own, so
// that what drives the browser is no dependency of anything else.
package browser
