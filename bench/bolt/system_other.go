//go:build !linux

package main

import (
	"context"
	"errors"
)

// plainCopy keeps cp from cloning the original, unless asked to.
const plainCopy = "-X"

func canDropCaches() bool { return false }

func dropCaches() error { return errors.New("drop caches: only Linux can") }

func load() string { return "unknown" }

func fileSystem(context.Context, string) string { return "unknown" }

func processor() string { return "unknown" }

// watcher watches nothing here.
type watcher struct{}

func watchMemory() *watcher { return nil }

func (*watcher) stop() []memory { return nil }
