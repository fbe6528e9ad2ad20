package sdk

// IOPriority is how the reads and writes of a plugin rank beside those of other
// programs, where the system and its I/O scheduler know such a rank.
type IOPriority string

const (
	// IONormal is that of the host itself; so is the empty one.
	IONormal IOPriority = "normal"
	// IOIdle waits until nobody else wants the disk.
	IOIdle IOPriority = "idle"
)

// SetIOPriority ranks the plugin, with all its threads and all that it has
// started, from now on. Only Linux has such ranks: elsewhere nothing happens,
// and no error comes. A process that has ended is none either.
func (p *Process) SetIOPriority(priority IOPriority) error {
	return p.child.setIOPriority(priority)
}

func (c *child) setIOPriority(priority IOPriority) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := priority == IOIdle
	if !c.running || idle == c.idle {
		return nil
	}
	if err := setGroupIOPriority(c.cmd.Process.Pid, idle); err != nil {
		return err
	}
	c.idle = idle
	return nil
}
