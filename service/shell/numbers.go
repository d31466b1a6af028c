package shell

import (
	"maps"
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/service/owner"
)

// number gives files their numbers.
func (j *Job) number(files []layout.File) (incremental.Files, error) {
	var all incremental.Builder[incremental.File]
	for i := range files {
		f := &files[i]
		n, err := j.names.Intern(incremental.Description{
			Key: f.Key, Job: f.Job, Instance: f.InstanceNonce, Name: f.LocalName, Size: f.Length, CRC: f.CRC32C, Blocks: f.Blocks,
			Compression: (*incremental.Compression)(f.Compression),
		})
		if err != nil {
			return incremental.Files{}, err
		}
		all.Add(n)
	}
	return all.Set(), nil
}

// numberForeign gives files in other jobs' folders their numbers, if the job claims its source. Else it may not reuse them.
func (j *Job) numberForeign(files []layout.File) (all []owner.Foreign, err error) {
	if head := j.m.Head(); head == nil || head.Import.Mode != journal.Claim {
		return nil, nil
	}
	of := map[string][]layout.File{}
	for _, f := range files {
		of[f.Job] = append(of[f.Job], f)
	}
	for _, job := range slices.Sorted(maps.Keys(of)) {
		numbers, err := j.number(of[job])
		if err != nil {
			return nil, err
		}
		all = append(all, owner.Foreign{Job: job, Files: numbers})
	}
	return all, nil
}
