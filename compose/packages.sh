# Sourced by compose/up and Tests/run: the Debian packages that they need.

# Older ones lack the fix for CVE-2026-27135.
nghttp2_version_min=1.52.0-1+deb12u3

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "needs root or sudo to run: $*"
  fi
}

is_installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

is_nghttp2_old() {
  dpkg --compare-versions "$(dpkg-query -W -f='${Version}' libnghttp2-14)" lt "$nghttp2_version_min"
}

# install_packages NAME...: installs those that are missing, and a libnghttp2 that may be used.
install_packages() {
  command -v dpkg-query >/dev/null || fail "knows Debian's packages only; install by hand: $*"
  local missing=() name
  for name in "$@"; do
    is_installed "$name" || missing+=("$name")
  done
  if is_installed libnghttp2-14 && is_nghttp2_old; then missing+=(libnghttp2-14 libnghttp2-dev); fi
  if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    as_root apt-get update -qq || fail "apt-get update failed"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      "${missing[@]}" >/dev/null || fail "apt-get install ${missing[*]} failed"
  fi
  if is_nghttp2_old; then
    fail "libnghttp2-14 is $(dpkg-query -W -f='${Version}' libnghttp2-14), needed is at least" \
      "$nghttp2_version_min (CVE-2026-27135): enable Debian's security updates"
  fi
}

require_swift() {
  command -v swift >/dev/null || fail "no swift in PATH: install the Swift toolchain, 6.2 or later, from swift.org/install"
}

build_packages=(libnghttp2-dev libsqlite3-dev zlib1g-dev libzstd-dev tzdata)
