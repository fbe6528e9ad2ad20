package command_test

import "golang.org/x/sys/unix"

func mountMemory(dir, size string) error {
	return unix.Mount("wring-test", dir, "tmpfs", 0, "size="+size)
}

func unmount(dir string) error { return unix.Unmount(dir, unix.MNT_DETACH) }
