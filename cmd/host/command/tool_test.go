package command_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"go.etcd.io/bbolt"

	"github.com/wringdb/wring/plugins/bolt/bolttest"
	"github.com/wringdb/wring/plugins/pebble/pebbletest"
)

// tools are what `exec tool NAME ARGUMENT...` does in a process of its own.
var tools = map[string]func(args []string) error{
	"bolt":       makeBolt,
	"bolts":      makeManyBolts,
	"pebble":     makePebble,
	"digest":     printDigest,
	"hold":       hold,
	"truncate":   truncate,
	"metas":      breakMetas,
	"nobody":     asNobody,
	"ioclass":    printIOClass,
	"owner":      serveOwner,
	"mute":       mute,
	"deadsocket": deadSocket,
	"address":    printAddress,
	"receive":    receive,
	"ask":        ask,
}

func toolMain() {
	if len(os.Args) < 2 || tools[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: tool NAME ARGUMENT...")
		os.Exit(2)
	}
	if err := tools[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

// makeBolt makes a bbolt file; as it is, half of it is garbage.
//
//	tool bolt [-live KIB] [-garbage RATIO] [-shape SHAPE] FILE
func makeBolt(args []string) error {
	flags := flag.NewFlagSet("bolt", flag.ExitOnError)
	live := flags.Int64("live", 2048, "KiB that remain")
	garbage := flags.Float64("garbage", 0.5, "part that is deleted")
	shape := flags.String("shape", string(bolttest.ShapeRandom), "of the content")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return bolttest.Generate(flags.Arg(0), bolttest.Spec{
		Seed: 1, LiveBytes: *live << 10, GarbageRatio: *garbage, Shape: bolttest.Shape(*shape),
	})
}

// makeManyBolts makes small dense bbolt files 0.db, 1.db … and prints a store
// block for each.
//
//	tool bolts DIRECTORY COUNT
func makeManyBolts(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	first := filepath.Join(dir, "0.db")
	if err := bolttest.Generate(first, bolttest.Spec{Seed: 1, Shape: bolttest.ShapeOneKey}); err != nil {
		return err
	}
	content, err := os.ReadFile(first)
	if err != nil {
		return err
	}
	for i := range count {
		path := filepath.Join(dir, fmt.Sprintf("%d.db", i))
		if i > 0 {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				return err
			}
		}
		fmt.Printf("store \"s%d\" {\n  plugin = \"bolt\"\n  path   = %q\n}\n", i, path)
	}
	return nil
}

// makePebble makes a Pebble store; as it is, half of it is garbage.
//
//	tool pebble [-live KIB] [-comparer NAME] DIRECTORY
func makePebble(args []string) error {
	flags := flag.NewFlagSet("pebble", flag.ExitOnError)
	live := flags.Int64("live", 2048, "KiB that remain")
	comparer := flags.String("comparer", pebbledb.DefaultComparer.Name, "name of the order of keys")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return pebbletest.Generate(flags.Arg(0), pebbletest.Spec{
		Seed: 1, LiveBytes: *live << 10, FilterBits: 10,
		Adjust: func(o *pebbledb.Options) {
			named := *pebbledb.DefaultComparer
			named.Name = *comparer
			o.Comparer = &named
		},
	})
}

// printDigest reads all content with the engine's own library, which checks its
// structure too.
//
//	tool digest PATH
func printDigest(args []string) error {
	info, err := os.Stat(args[0])
	if err != nil {
		return err
	}
	read := bolttest.Digest
	if info.IsDir() {
		read = func(path string) (string, error) {
			digest, _, err := pebbletest.Digest(path, nil)
			return digest, err
		}
	}
	digest, err := read(args[0])
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

// hold has a store open, as an application does, until it is killed. It prints
// "holding" when it has the lock, and "writing" when it has written.
//
//	tool hold [-write] PATH
func hold(args []string) error {
	flags := flag.NewFlagSet("hold", flag.ExitOnError)
	write := flags.Bool("write", false, "write to it all the time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	path := flags.Arg(0)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	open := openBolt
	if info.IsDir() {
		open = openPebble
	}
	put, err := open(path)
	if err != nil {
		return err
	}
	fmt.Println("holding")
	if !*write {
		forEver()
	}
	for i := range uint64(1 << 40) {
		if err := put(binary.BigEndian.AppendUint64(nil, i%4096), make([]byte, 200)); err != nil {
			return err
		}
		if i == 10 {
			fmt.Println("writing")
		}
	}
	return errors.New("written enough")
}

// forEver waits to be killed.
func forEver() {
	for {
		time.Sleep(time.Hour)
	}
}

func openBolt(path string) (put func(k, v []byte) error, err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second, NoSync: true})
	if err != nil {
		return nil, err
	}
	return func(k, v []byte) error {
		return db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("written"))
			if err != nil {
				return err
			}
			return b.Put(k, v)
		})
	}, nil
}

func openPebble(path string) (put func(k, v []byte) error, err error) {
	db, err := pebbledb.Open(path, &pebbledb.Options{
		ErrorIfNotExists: true, MemTableSize: 256 << 10,
		DisableAutomaticCompactions: true, // or it would do wring's work
	})
	if err != nil {
		return nil, err
	}
	return func(k, v []byte) error { return db.Set(k, v, pebbledb.NoSync) }, nil
}

// truncate cuts a file.
//
//	tool truncate FILE BYTES
func truncate(args []string) error {
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	return os.Truncate(args[0], size)
}

// breakMetas breaks the checksums of both metas of a bbolt file with pages of
// 4 KiB, and leaves the magic.
//
//	tool metas FILE
func breakMetas(args []string) error {
	file, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	const checksum = 16 + 56 // in a meta page
	for _, page := range []int64{0, 4096} {
		if _, err := file.WriteAt([]byte("damaged!"), page+checksum); err != nil {
			return err
		}
	}
	return file.Sync()
}

// asNobody runs a program as a user without rights, if this one may do so.
//
//	tool nobody PROGRAM ARGUMENT...
func asNobody(args []string) error {
	program, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			return err
		}
	}
	return syscall.Exec(program, args, os.Environ())
}
