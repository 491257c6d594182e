# Sourced by compose/up and compose/down: names, ports and processes of the suite.

services=(ingest user-profile query live-stats)

# port_of SERVICE, metrics_port_of SERVICE
port_of() {
  case "$1" in
    ingest) echo $((base + 1)) ;;
    user-profile) echo $((base + 2)) ;;
    query) echo $((base + 3)) ;;
    live-stats) echo $((base + 4)) ;;
  esac
}
metrics_port_of() { echo $(($(port_of "$1") + 100)); }

pid_file() { echo "$data/run/$1.pid"; }
log_file() { echo "$data/log/$1.log"; }

# The process of the pid file, if it is still that program: after a reboot the number may belong to another.
running_pid() {
  local pid program
  pid=$(cat "$(pid_file "$1")" 2>/dev/null) || return 1
  [[ "$pid" =~ ^[0-9]+$ ]] || return 1
  program=$1
  [ "$1" = demo ] && program=footfall
  [ "$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | head -n 1 | xargs -r basename)" = "$program" ] || return 1
  # Ended, and only its parent has not asked for it yet.
  [ "$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null)" != Z ] || return 1
  echo "$pid"
}

absolute() {
  mkdir -p "$1" && (cd "$1" && pwd)
}
