package layout

// CountFiles makes the writer count more files than it has written.
func (m *MetadataWriter) CountFiles(n uint64) { m.check.totals.Files += n }
