package replace

import (
	"os"
)

// OpKind is what an operation does.
type OpKind string

// The kinds, in the order in which a replacement comes to them.
const (
	OpCreate     OpKind = "create"     // of the temp at Path, empty
	OpRename     OpKind = "rename"     // of Path to To
	OpAttributes OpKind = "attributes" // of the old file, given to the temp
	OpWrite      OpKind = "write"      // of Data at Offset
	OpTruncate   OpKind = "truncate"   // to Length bytes
	OpSync       OpKind = "sync"       // of the content
	OpSyncDir    OpKind = "syncdir"    // of the directory of Path
	OpExchange   OpKind = "exchange"   // of Path and To
	OpPoison     OpKind = "poison"     // Data at Offset of the old file, which may have lost the name Path
	OpSyncOld    OpKind = "syncold"    // of the old file's content, which is poisoned in part
	OpPunch      OpKind = "punch"      // of a hole of Length bytes at Offset
	OpUnlink     OpKind = "unlink"     // of Path
	OpRelease    OpKind = "release"    // of the lock of Path
)

// Op is a change of a file, or of a name, that is about to be made.
type Op struct {
	Kind     OpKind
	Path, To string
	Offset   int64
	Data     []byte // only to be read, and only before the hook returns
	Length   int64
}

// Hook is called before each Op, for tests that record them, let them fail, or
// crash there. Its error takes the place of the operation's, which is not done.
// Calls may come from several goroutines. It is nil in production.
type Hook func(Op) error

// Do makes a change, unless the hook refuses it. A nil hook refuses nothing.
func (h Hook) Do(op Op, change func() error) error {
	if h != nil {
		if err := h(op); err != nil {
			return err
		}
	}
	return change()
}

// unlink removes the file at path.
func (h Hook) unlink(path string) error {
	return h.Do(Op{Kind: OpUnlink, Path: path}, func() error { return os.Remove(path) })
}
