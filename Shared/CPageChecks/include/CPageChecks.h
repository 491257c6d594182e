#pragma once
// Page checksums of SQLite files: a layer over the system's file access ("VFS"). Each page of a file that was made with
// `FOOTFALL_PAGE_CHECK_BYTES` reserved bytes carries a checksum in these, written with the page and compared when the page is read.
// A page that does not match is refused with SQLITE_IOERR_DATA. Files without the reserved bytes are read and written as ever.
//
// Writes that follow one another are given to the system as one: those of a transaction to the write-ahead log, and those of a checkpoint
// that copies all of that log to the file. The log is not synced again where nothing was written to it since.

/// Reserved at the end of each page.
#define FOOTFALL_PAGE_CHECK_BYTES 8

/// Makes the layer SQLite's default. Called again it does nothing. Returns a SQLite result code.
int footfall_page_checks_register(void);

/// Gives every page of a file the checksum that it should have: of a copy that another program made, which knows nothing of them.
/// Nobody may have the file open. A file without reserved bytes is left alone. Returns 0, or -1 and errno.
int footfall_page_checks_stamp(const char *path);
