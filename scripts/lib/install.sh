# Installs what the tests need, from the system's own packages, where it is missing.

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "$1 needs root" "run as root, install sudo, or install the packages yourself"
  fi
}

# need_commands PACKAGE=COMMAND…: installs the packages whose command is missing.
need_commands() {
  local missing=() pair
  for pair in "$@"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair#*=}" >/dev/null || missing+=("${pair%%=*}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null ||
    die "missing: ${missing[*]}" "install them with your system's package manager"
  say "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The static busybox that test images are made of, which has no command name of its own.
need_static_busybox() {
  local busybox=/bin/busybox
  if [ -x "$busybox" ] && ! ldd "$busybox" >/dev/null 2>&1; then
    return 0
  fi
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends busybox-static >/dev/null
}
