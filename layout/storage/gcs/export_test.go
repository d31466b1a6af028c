package gcs

import contract "github.com/ckptd/ckptd/layout/storage"

// SmallChunks makes a store send chunks of 256 KiB, the least that Google takes, so that tests of uploads in several
// chunks move few bytes.
func SmallChunks(opened contract.Opened) contract.Opened {
	opened.Store.(*store).chunk = 256 << 10
	return opened
}
