package storagetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

func keysOf(infos []storage.Info) []string {
	var keys []string
	for _, info := range infos {
		keys = append(keys, info.Key)
	}
	return keys
}

func testList(t *testing.T, s storage.Store) {
	all := []string{"session-a.b/x", "session-a/.log.1", "session-a/.log.2", "session-a/d/e/f", "session-ab/x"}
	for _, key := range all {
		put(t, s, key, key)
	}
	slices.Sort(all)
	for _, test := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 10, all},
		{"session-a/", "", 10, []string{"session-a/.log.1", "session-a/.log.2", "session-a/d/e/f"}},
		{"session-a/.log.", "", 10, []string{"session-a/.log.1", "session-a/.log.2"}},
		{"session-a/.log.", "session-a/.log.1", 10, []string{"session-a/.log.2"}},
		{"session-a/.log.", "session-a/.log.10", 10, []string{"session-a/.log.2"}},
		{"session-a/", "", 2, []string{"session-a/.log.1", "session-a/.log.2"}},
		{"session-a/d/", "session-a/.log.2", 2, []string{"session-a/d/e/f"}},
		{"session-x/", "", 10, nil},
		{"", "session-ab/x", 10, nil},
	} {
		list, err := s.List(t.Context(), test.prefix, test.after, test.limit)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, keysOf(list)); diff != "" {
			t.Errorf("List(%q, %q, %d): %s", test.prefix, test.after, test.limit, diff)
		}
	}
	list, err := s.List(t.Context(), "session-ab/", "", 1)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	stat, err := s.Stat(t.Context(), list[0].Key)
	if diff := cmp.Diff(stat, list[0]); diff != "" || err != nil {
		t.Errorf("List and Stat differ: %s, %v", diff, err)
	}
}

func testListPaging(t *testing.T, s storage.Store) {
	var want []string
	for i := range 60 {
		key := fmt.Sprintf("p/%03d", i)
		put(t, s, key, "x")
		want = append(want, key)
	}
	var got []string
	after := ""
	for {
		list, err := s.List(t.Context(), "p/", after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		got = append(got, keysOf(list)...)
		after = list[len(list)-1].Key
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func testFolders(t *testing.T, s storage.Store) {
	folders := []string{"session-a/", "session-a-b/", "session-a.b/", "session-a0/", "session-aa/", "session-b/"}
	for _, folder := range append(folders, "other/") {
		put(t, s, folder+".meta", "x")
		put(t, s, folder+"deep/er", "x")
	}
	slices.Sort(folders)
	for limit := 1; limit <= len(folders)+1; limit++ {
		var got []string
		after := ""
		for {
			page, err := s.Folders(t.Context(), "session-", after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("Folders(%q, %d) = %q, %v", after, limit, page, err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			after = page[len(page)-1]
		}
		if diff := cmp.Diff(folders, got); diff != "" {
			t.Errorf("in pages of %d: %s", limit, diff)
		}
	}
	page, err := s.Folders(t.Context(), "session-", "session-aZ/", 1)
	if diff := cmp.Diff([]string{"session-aa/"}, page); diff != "" || err != nil {
		t.Errorf("after a folder that is not there: %s, %v", diff, err)
	}
}

func testDelete(t *testing.T, s storage.Store) {
	for _, key := range []string{"d/1", "d/2", "d/sub/3", "keep"} {
		put(t, s, key, "x")
	}
	if err := s.Delete(t.Context(), "d/1", "d/missing", "d/sub/3", "d/2"); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context(), "", "", 10)
	if diff := cmp.Diff([]string{"keep"}, keysOf(list)); diff != "" || err != nil {
		t.Error(diff, err)
	}
	folders, err := s.Folders(t.Context(), "", "", 10)
	if err != nil || len(folders) != 0 {
		t.Errorf("Folders() = %q, %v after all their objects are gone", folders, err)
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
}

// HostileKeys are keys that every store refuses.
func HostileKeys() []string {
	return []string{
		"", ".", "..", "/", "/etc/passwd", "a/", "a//b", "./a", "a/./b", "../a", "a/../b", "a/..", "a\\b", "..\\a", "a\x00b",
		"a/\xff", strings.Repeat("x", 201), strings.Repeat("abcdefg/", 126) + "x",
	}
}

func testHostileKeys(t *testing.T, s storage.Store) {
	ctx := t.Context()
	for _, key := range HostileKeys() {
		_, _, getErr := s.Get(ctx, key)
		_, statErr := s.Stat(ctx, key)
		_, putIfErr := s.PutIf(ctx, key, []byte("x"), storage.IfAbsent)
		for name, err := range map[string]error{
			"Get": getErr, "Stat": statErr, "PutIf": putIfErr,
			"Put": s.Put(ctx, key, strings.NewReader("x")), "Delete": s.Delete(ctx, key),
		} {
			if err == nil {
				t.Errorf("%s takes the key %q", name, key)
			}
		}
	}
	if list, err := s.List(ctx, "", "", 10); err != nil || len(list) != 0 {
		t.Errorf("List() = %v, %v", list, err)
	}
}
