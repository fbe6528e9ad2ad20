package diff

import (
	"bytes"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// cursor goes through a tree in the order of the keys. At its head is an entry of
// a leaf, or a subtree of which nothing has been read yet.
type cursor struct {
	side  *side
	stack []frame
	// root of the tree while that is the head.
	root    page.ID
	pending bool
	height  int // of the tree: branches above the leaves
}

type frame struct {
	node page.Node
	at   int
}

// maxHeight bounds what a broken file can lead to.
const maxHeight = 64

// open begins a bucket.
func (s *side) open(b *page.Bucket) (*cursor, error) {
	c := &cursor{side: s}
	if b.Root == 0 {
		c.push(b.Inline)
		return c, nil
	}
	c.root, c.pending = b.Root, true
	for id := b.Root; ; c.height++ {
		n, err := s.file.Node(id, true, nil)
		if err != nil {
			return nil, err
		}
		if n.Leaf {
			return c, nil
		}
		if c.height == maxHeight {
			return nil, &page.Error{Page: id, Problem: "lies too deep for any tree"}
		}
		id = n.Child(0)
	}
}

// end says whether there is nothing left.
func (c *cursor) end() bool { return !c.pending && len(c.stack) == 0 }

// head is where the cursor stands.
type head struct {
	// key of the entry; or the least that one of the subtree can have, where nil
	// is less than any other.
	key []byte
	// tree is the subtree's root, 0 for an entry.
	tree page.ID
	// height of the subtree, if all leaves of the tree lie equally deep.
	height int
	node   *page.Node // of the entry
	at     int
}

func (c *cursor) head() (head, error) {
	if c.pending {
		return head{tree: c.root, height: c.height}, nil
	}
	top := &c.stack[len(c.stack)-1]
	key, err := top.node.Key(top.at)
	if err != nil {
		return head{}, err
	}
	h := head{key: key, node: &top.node, at: top.at}
	if !top.node.Leaf {
		h.tree, h.height = top.node.Child(top.at), c.height-len(c.stack)
	}
	return h, nil
}

// next leaves the head behind, and with it all that it leads to.
func (c *cursor) next() {
	c.pending = false
	for len(c.stack) > 0 {
		top := &c.stack[len(c.stack)-1]
		if top.at++; top.at < top.node.Count {
			return
		}
		c.stack = c.stack[:len(c.stack)-1]
	}
}

// descend reads the root of the subtree at the head, and goes to its first entry.
func (c *cursor) descend() error {
	id := c.root
	if !c.pending {
		top := &c.stack[len(c.stack)-1]
		id = top.node.Child(top.at)
	}
	if len(c.stack) >= maxHeight {
		return &page.Error{Page: id, Problem: "lies too deep for any tree"}
	}
	n, err := c.side.read(id)
	if err != nil {
		return err
	}
	c.pending = false
	c.push(n)
	return nil
}

// push goes to the first entry of a node. Only the root of an empty tree has
// none.
func (c *cursor) push(n page.Node) {
	if n.Count == 0 {
		c.next()
		return
	}
	c.stack = append(c.stack, frame{node: n})
}

// compare compares keys, of which nil is the least.
func compare(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return bytes.Compare(a, b)
}
