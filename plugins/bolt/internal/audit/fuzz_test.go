package audit_test

import (
	"os"
	"testing"

	"github.com/wringdb/wring/plugins/bolt/internal/page"
)

// FuzzAudit audits files of any pages, at once and page by page.
func FuzzAudit(f *testing.F) {
	seed := written(f)
	whole, err := os.ReadFile(seed.Name())
	if err != nil {
		f.Fatal(err)
	}
	meta, err := page.ReadMeta(seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, uint64(meta.Root))
	f.Add(whole[:len(whole)/2], uint64(5))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, whole []byte, root uint64) {
		pages := len(whole) / pageSize
		if pages < 4 || root < 3 || root >= uint64(pages) {
			return
		}
		whole = append([]byte{}, whole[:pages*pageSize]...)
		clear(whole[:3*pageSize])
		page.PutMeta(whole, page.Meta{PageSize: pageSize, Root: page.ID(root), Freelist: 2, HighWater: page.ID(pages), TxID: 2})
		page.PutFreelist(whole[2*pageSize:], 2)
		file, err := os.CreateTemp(dir, "*.db")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		defer file.Close()
		if _, err := file.Write(whole); err != nil {
			t.Fatal(err)
		}
		once, err := audited(file, 1<<30)
		slow, slowErr := audited(file, pageSize)
		if (err == nil) != (slowErr == nil) || err == nil && once != slow {
			t.Fatalf("at once: %+v, %v; page by page: %+v, %v", once, err, slow, slowErr)
		}
	})
}
