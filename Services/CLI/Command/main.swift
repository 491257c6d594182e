import CLI

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

// A reader that has gone away ends a write with an error, not this process with a signal.
signal(SIGPIPE, SIG_IGN)
exit(await Footfall.execute(nil))
