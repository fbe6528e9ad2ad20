// Package audit reads a file that package writer has made, in the order of its
// pages, and proves it sound: every page is used once, every key in its place,
// every branch true to its children. What it finds is summed up, to be held
// against the sum of what was to be written.
//
// It shares no code with the writer but the page format, and reads the file as
// it lies in the operating system's memory or on the disk, not what the writer
// remembers. It takes memory for one open path of the trees only: children come
// before their parents, and are forgotten once those have been read.
package audit

import (
	"bytes"
	"fmt"
	"os"

	"github.com/wringdb/wring/plugins/bolt/internal/content"
	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// Audit of one file. It is for one goroutine at a time, which must have faults
// turned into panics where the file may not be readable: see page.Map.
type Audit struct {
	file     *os.File
	pageSize int
	next     page.ID             // to be read
	orphans  map[page.ID]subtree // by their root: no parent has been read yet
	mappings []*page.Mapping     // the last one is in use; keys lie in all
	// forgotten is up to which byte the file need not be mapped any more, except
	// for keys, which come back where they are needed.
	forgotten int64
}

// subtree is what a parent has to agree with.
type subtree struct {
	first, last []byte // keys
	empty       bool   // a leaf without entries, which can only be a root
	height      int
	sum         content.Sum
}

// New begins with the page first: those before it are meta and freelist.
func New(file *os.File, pageSize int, first page.ID) *Audit {
	return &Audit{file: file, pageSize: pageSize, next: first, orphans: make(map[page.ID]subtree)}
}

// Close ends the audit.
func (a *Audit) Close() {
	for _, m := range a.mappings {
		_ = m.Close()
	}
	a.mappings = nil
}

// To reads on up to the byte at end, as far as whole nodes lie before it.
func (a *Audit) To(end int64) error {
	file, err := a.pages(end)
	if err != nil {
		return err
	}
	for a.next < file.Meta.HighWater {
		pages, err := file.Pages(a.next)
		if err != nil {
			return err
		}
		if a.next+page.ID(pages) > file.Meta.HighWater {
			return nil
		}
		n, err := file.Node(a.next, true, nil)
		if err != nil {
			return err
		}
		found, err := a.node(&n)
		if err != nil {
			return err
		}
		a.orphans[a.next] = found
		a.next += page.ID(pages)
	}
	a.mappings[len(a.mappings)-1].Forget(a.forgotten, end)
	a.forgotten = end
	return nil
}

// leastMapping is the size of the first mapping, in bytes; each further one is
// twice as large as what is needed.
const leastMapping = 64 << 20

// pages are those before the byte at end.
func (a *Audit) pages(end int64) (*page.File, error) {
	if n := len(a.mappings); n == 0 || end > int64(len(a.mappings[n-1].Data)) {
		m, err := page.Map(a.file, max(leastMapping, 2*end))
		if err != nil {
			return nil, err
		}
		a.mappings = append(a.mappings, m)
	}
	return &page.File{
		Data: a.mappings[len(a.mappings)-1].Data[:end],
		Meta: page.Meta{PageSize: a.pageSize, HighWater: page.ID(end / int64(a.pageSize))},
	}, nil
}

func (a *Audit) node(n *page.Node) (subtree, error) {
	if n.Leaf {
		return a.leaf(n)
	}
	return a.branch(n)
}

func (a *Audit) leaf(n *page.Node) (subtree, error) {
	t := subtree{empty: n.Count == 0}
	for i := range n.Count {
		key, value, err := n.Item(i)
		if err != nil {
			return t, err
		}
		if i == 0 {
			t.first = key
		} else if bytes.Compare(t.last, key) >= 0 {
			return t, unsound(n, i, "has a key out of order")
		}
		t.last = key
		if !n.IsBucket(i) {
			t.sum.Put(key, value)
			continue
		}
		b, err := n.Bucket(i)
		if err != nil {
			return t, err
		}
		within, err := a.bucket(n, i, &b)
		if err != nil {
			return t, err
		}
		t.sum.Bucket(key, b.Sequence, within.sum)
	}
	return t, nil
}

func (a *Audit) bucket(n *page.Node, i int, b *page.Bucket) (subtree, error) {
	if b.Root == 0 {
		return a.leaf(&b.Inline)
	}
	within, ok := a.orphans[b.Root]
	if !ok {
		return within, unsound(n, i, "leads to no bucket")
	}
	delete(a.orphans, b.Root)
	return within, nil
}

func (a *Audit) branch(n *page.Node) (subtree, error) {
	var t subtree
	if n.Count < 2 {
		return t, &page.Error{Page: n.ID, Problem: "is a branch with fewer than two children"}
	}
	for i := range n.Count {
		key, err := n.Key(i)
		if err != nil {
			return t, err
		}
		child, ok := a.orphans[n.Child(i)]
		switch {
		case !ok:
			return t, unsound(n, i, "leads to no node")
		case child.empty:
			return t, unsound(n, i, "leads to an empty leaf")
		case !bytes.Equal(key, child.first):
			return t, unsound(n, i, "has another key than its child")
		case i > 0 && bytes.Compare(t.last, key) >= 0:
			return t, unsound(n, i, "has a key out of order")
		case i > 0 && child.height+1 != t.height:
			return t, unsound(n, i, "leads to leaves at another height")
		}
		delete(a.orphans, n.Child(i))
		if i == 0 {
			t.first, t.height = child.first, child.height+1
		}
		t.last = child.last
		t.sum.Add(child.sum)
	}
	return t, nil
}

func unsound(n *page.Node, i int, problem string) error {
	return &page.Error{Page: n.ID, Problem: fmt.Sprintf("%s (entry %d of %d)", problem, i+1, n.Count)}
}

// Finish reads what is left, up to the size of the file, and the file's head,
// and returns the sum of all content.
func (a *Audit) Finish() (content.Sum, error) {
	info, err := a.file.Stat()
	if err != nil {
		return content.Sum{}, err
	}
	if err := a.To(info.Size()); err != nil {
		return content.Sum{}, err
	}
	meta, err := a.meta()
	if err != nil {
		return content.Sum{}, err
	}
	wrong := func(format string, args ...any) (content.Sum, error) {
		return content.Sum{}, &page.Error{Page: meta.Page, Problem: fmt.Sprintf(format, args...)}
	}
	root, ok := a.orphans[meta.Root]
	switch {
	case meta.Bytes() != info.Size() || a.next != meta.HighWater:
		return wrong("has its high-water mark at %d of %d pages", meta.HighWater, a.next)
	case !ok:
		return wrong("has its root at page %d, where no tree begins", meta.Root)
	case len(a.orphans) > 1:
		return wrong("leads to one tree, and there are %d", len(a.orphans))
	}
	if meta.Freelist != page.NoFreelist {
		list, err := (&page.File{R: a.file, Meta: meta}).Freelist(false)
		if err != nil {
			return content.Sum{}, err
		}
		if list.Count != 0 {
			return wrong("has %d free pages", list.Count)
		}
	}
	return content.File(meta.Sequence, root.sum), nil
}

// meta returns the newest meta. The other one, which bbolt falls back to, must
// lead to the same content and be one transaction older.
func (a *Audit) meta() (page.Meta, error) {
	meta, err := page.ReadMeta(a.file)
	if err != nil {
		return page.Meta{}, err
	}
	if meta.PageSize != a.pageSize {
		return page.Meta{}, &page.Error{Page: meta.Page, Problem: fmt.Sprintf("has a page size of %d, not %d", meta.PageSize, a.pageSize)}
	}
	metas, err := page.ReadMetas(a.file, a.pageSize)
	if err != nil {
		return page.Meta{}, err
	}
	want := meta
	want.TxID, want.Page = meta.TxID-1, 1-meta.Page
	if other := metas[want.Page]; other != want || meta.TxID%2 != uint64(meta.Page) {
		return page.Meta{}, &page.Error{Page: want.Page, Problem: fmt.Sprintf("has the meta %+v beside %+v", other, meta)}
	}
	return meta, nil
}
