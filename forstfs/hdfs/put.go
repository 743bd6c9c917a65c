package hdfs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

const (
	flagCreate    = 0x01
	flagReplicate = 0x80 // no erasure coding, whatever the directory says

	// askFirst is the size from which a create asks whether the object is there before it sends its bytes.
	askFirst = 256 << 10
)

// Put implements driver.Store. The object is a file of one block, written under a temporary name and renamed. What is durable when Put
// returns nil is told by Config.Sync. It costs four calls to the NameNode and one pipeline of DataNodes. A DataNode that fails costs
// another temporary file, away from that node; data is sent again from memory. A Put that meets an object with IfAbsent has written its
// bytes in vain, unless they are many.
func (s *Store) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	c := call{op: "put", key: key, bytes: int64(len(data))}
	if err := driver.CheckKey(key); err != nil {
		return s.fail(c, driver.KindInvalid, err)
	}
	r, err := s.begin(ctx, c)
	if err != nil {
		return err
	}
	defer r.end()
	s.maybeSweep()
	if o.IfAbsent && len(data) >= askFirst {
		if st, err := r.stat(s.file(key)); err != nil {
			return r.fail(err)
		} else if st != nil && fileType(st) != isDir {
			return s.fail(c, driver.KindExist, nil)
		}
	}
	for {
		err := r.put(data, o.IfAbsent)
		if err == nil {
			return nil
		}
		if err = r.retry(err); err != nil {
			return r.fail(err)
		}
	}
}

// put is one attempt with a temporary file of its own.
func (r *running) put(data []byte, ifAbsent bool) error {
	s := r.s
	t := &temp{path: s.cfg.Root + "/" + tempDir + "/" + s.holder + "-" + strconv.FormatUint(s.counter.Add(1), 36)}
	err := r.write(t, data)
	if err == nil {
		err = r.place(t, ifAbsent)
	}
	if err != nil && !t.placed {
		s.discard(t.path)
	}
	return err
}

// temp is a file on its way to its name.
type temp struct {
	path   string
	id     uint64 // of its inode
	placed bool
}

// discard removes a temporary file beside the caller, if that can be done soon; the rest is swept later.
func (s *Store) discard(path string) {
	s.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 2*s.cfg.AttemptTimeout)
		defer cancel()
		_ = s.nns.once(ctx, s.cfg.AttemptTimeout, "delete", message("DeleteRequestProto", fields{"src": path, "recursive": false}), empty("DeleteResponseProto"))
	})
}

func permission(mode uint32) protoreflect.Message {
	return message("FsPermissionProto", fields{"perm": mode})
}

// write makes the temporary file, complete and closed.
func (r *running) write(t *temp, data []byte) error {
	s := r.s
	d, err := r.clusterDefaults()
	if err != nil {
		return err
	}
	replication := uint32(s.cfg.Replication)
	if replication == 0 {
		replication = d.replication
	}
	size := (int64(len(data)) + s.cfg.MinBlockSize - 1) / s.cfg.MinBlockSize * s.cfg.MinBlockSize
	made := empty("CreateResponseProto")
	// Not repeated under this name: an answer that was lost would look like a file of somebody else.
	err = s.nns.once(r.ctx, r.timeout(), "create", message("CreateRequestProto", fields{
		"src": t.path, "masked": permission(0o644), "clientName": s.holder, "createFlag": uint32(flagCreate | flagReplicate),
		"createParent": true, "replication": replication, "blockSize": uint64(max(size, s.cfg.MinBlockSize)),
	}), made)
	if err != nil {
		if isClass(err, exExists, exBeingCreated) {
			return transient("a temporary file has the name of another: %w", err)
		}
		return err
	}
	t.id = get(get(made, "fs").Message(), "fileId").Uint()
	var last protoreflect.Message
	if len(data) > 0 {
		if last, err = r.block(t, data, int(replication), min(int(replication), s.cfg.MinReplicas)); err != nil {
			return err
		}
	}
	return r.complete(t, last)
}

// enough is the number of replicas with which nobody looks for more before a block is written.
const enough = 2

// block writes the one block of a file and gives its description for complete.
func (r *running) block(t *temp, data []byte, wanted, least int) (protoreflect.Message, error) {
	s := r.s
	bad, due := s.seen.all()
	s.retryBad(due)
	located, err := r.addBlock(t, bad)
	if err != nil {
		return nil, err
	}
	b, pipeline := get(located, "b").Message(), s.nodesOf(located)
	if len(pipeline) < wanted && len(pipeline) < enough && len(bad) > 0 && r.revive(bad) {
		// One replica is little: nodes that are back are taken, under another name.
		return nil, transient("nodes that failed are back")
	}
	if len(pipeline) < least {
		return nil, transient("the cluster gives %d DataNodes of at least %d", len(pipeline), least)
	}
	if s.cfg.OnCall != nil {
		s.cfg.OnCall(r.ctx, "write")
	}
	if culprit, err := r.stream(located, pipeline, data); err != nil {
		if r.ctx.Err() == nil {
			if culprit >= 0 {
				s.seen.fail(pipeline[culprit])
			} else if !r.blame(pipeline) && r.tries > 0 {
				// All answer and yet it does not work: keep away from one after the other.
				s.seen.fail(pipeline[r.tries%len(pipeline)])
			}
		}
		return nil, err
	}
	last := message("ExtendedBlockProto", fields{"poolId": get(b, "poolId").String(), "blockId": get(b, "blockId").Uint(),
		"generationStamp": get(b, "generationStamp").Uint(), "numBytes": uint64(len(data))})
	return last, nil
}

// addBlock asks for DataNodes away from the bad ones; from any, if there are no others.
func (r *running) addBlock(t *temp, bad []node) (protoreflect.Message, error) {
	for {
		exclude := make([]protoreflect.Message, len(bad))
		for i, n := range bad {
			exclude[i] = n.info
		}
		resp := empty("AddBlockResponseProto")
		err := r.s.nns.once(r.ctx, r.timeout(), "addBlock", message("AddBlockRequestProto", fields{
			"src": t.path, "clientName": r.s.holder, "fileId": t.id, "excludeNodes": exclude}), resp)
		if err == nil {
			return get(resp, "block").Message(), nil
		}
		if isClass(err, exIO) {
			// "could only be written to 0 of the 1 minReplication nodes": no class of its own.
			if len(bad) == 0 {
				return nil, &failure{driver.KindTransient, fmt.Errorf("no DataNode takes the block: %w", err), true}
			}
			bad = nil
			continue
		}
		if isClass(err, exLeaseExpired, exNotFound) {
			return nil, transient("the temporary file was removed: %w", err)
		}
		if err := r.retry(err); err != nil {
			return nil, err
		}
	}
}

// complete closes the file. The NameNode says no until a first DataNode has told it of the block, which is a matter of milliseconds.
func (r *running) complete(t *temp, last protoreflect.Message) error {
	f := fields{"src": t.path, "clientName": r.s.holder, "fileId": t.id}
	if last != nil {
		f["last"] = last
	}
	wait := time.Millisecond
	patience := time.Now().Add(2 * r.timeout())
	for !mutant.On("hdfs/visible-before-closed") {
		resp, err := r.ask("complete", message("CompleteRequestProto", f), "CompleteResponseProto")
		if isClass(err, exLeaseExpired, exNotFound) {
			return transient("the temporary file was removed: %w", err)
		}
		if err != nil {
			return err
		}
		if get(resp, "result").Bool() {
			return nil
		}
		if mutant.On("hdfs/replicating-is-failure") {
			return final(driver.KindOther, errors.New("the file is not closed"))
		}
		if time.Now().After(patience) {
			return transient("the NameNode has heard of no replica of the block")
		}
		if err := r.sleep(wait); err != nil {
			return err
		}
		wait = min(2*wait, 50*time.Millisecond)
	}
	return nil
}

// place renames the file to the key's name.
func (r *running) place(t *temp, ifAbsent bool) error {
	s := r.s
	dst := s.file(r.key)
	if err := r.makeDir(path.Dir(dst)); err != nil {
		return err
	}
	for try := 0; ; try++ {
		err := s.nns.once(r.ctx, r.timeout(), "rename2", message("Rename2RequestProto", fields{"src": t.path, "dst": dst, "overwriteDest": !ifAbsent || mutant.On("hdfs/create-replaces")}), empty("Rename2ResponseProto"))
		if err == nil {
			t.placed = true
			return nil
		}
		if r.ctx.Err() != nil {
			return err
		}
		if isClass(err, exParentNotDir) {
			return err
		}
		if f := classify(err); f.again {
			if mutant.On("hdfs/lost-rename-is-success") {
				t.placed = true
				return nil
			}
			// It may have been carried out, or may be yet.
			if err := r.retry(err); err != nil {
				return err
			}
			continue
		}
		if !isClass(err, exExists, exNotFound, exIO) {
			return err
		}
		done, serr := r.why(t, dst, ifAbsent, err)
		if done || serr != nil {
			return serr
		}
		if try == 100 {
			return transient("directories come and go: %w", err)
		}
	}
}

// why finds out what a refused rename means. With done the object has its name; with neither done nor an error the rename may be
// tried again.
func (r *running) why(t *temp, dst string, ifAbsent bool, err error) (done bool, _ error) {
	there, serr := r.stat(dst)
	if serr != nil {
		return false, serr
	}
	switch {
	case there != nil && get(there, "fileId").Uint() == t.id && !mutant.On("hdfs/lost-rename-is-failure"):
		t.placed = true // an earlier attempt, whose answer was lost
		return true, nil
	case there != nil && fileType(there) == isDir:
		return false, r.clearDir(dst)
	case there != nil && ifAbsent:
		return false, final(driver.KindExist, nil)
	}
	own, serr := r.stat(t.path)
	switch {
	case serr != nil:
		return false, serr
	case own == nil:
		// Swept by somebody, or renamed, and replaced or deleted since.
		return false, transient("the temporary file was removed: %w", err)
	}
	dir := path.Dir(dst)
	r.s.forget(dir)
	if merr := r.makeDir(dir); merr != nil {
		return false, merr
	}
	if isClass(err, exIO) {
		return false, &failure{driver.KindTransient, err, true}
	}
	return false, nil
}

// makeDir makes a directory with its parents unless this store knows that it is there.
func (r *running) makeDir(dir string) error {
	s := r.s
	s.mu.Lock()
	known := s.dirs[dir]
	s.mu.Unlock()
	if known {
		return nil
	}
	_, err := r.ask("mkdirs", message("MkdirsRequestProto", fields{"src": dir, "masked": permission(0o755), "createParent": true}), "MkdirsResponseProto")
	if isClass(err, exExists) {
		return final(driver.KindInvalid, fmt.Errorf("a key must not be a /-prefix of another: a parent of this one is an object: %w", err))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	if len(s.dirs) > 4096 {
		clear(s.dirs)
	}
	s.dirs[dir] = true
	s.mu.Unlock()
	return nil
}

func (s *Store) forget(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dirs, dir)
}

// clearDir removes a directory in which there are directories at most: what deleted objects left.
func (r *running) clearDir(dir string) error {
	w := &walker{r: r}
	for name := range w.names(dir, "") {
		if w.err != nil {
			break
		}
		if !name.dir {
			return final(driver.KindInvalid, fmt.Errorf("a key must not be a /-prefix of another, and there is an object %s/%s", dir, name.name))
		}
		if err := r.clearDir(dir + "/" + name.name); err != nil {
			return err
		}
	}
	if w.err != nil {
		return w.err
	}
	r.s.forget(dir)
	return r.remove(dir)
}
