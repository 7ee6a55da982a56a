# The browser that the loading page's stories use, and the driver for it: the system's own Chromium
# and Node.js. Where the system has no Chromium to install, those stories are left out.

BROWSER_NODE_MIN=18

browser_ready() {
  browser_found || browser_install || {
    say "no Chromium here: the stories with a browser are left out"
    return 0
  }
  need_commands nodejs=node npm=npm
  local node
  node=$(node -p 'process.versions.node.split(".")[0]')
  [ "$node" -ge "$BROWSER_NODE_MIN" ] ||
    die "Node.js $node is too old for the browser's driver" "install $BROWSER_NODE_MIN or newer"
  step "browser driver" npm ci --prefix tests/browser --no-audit --no-fund --silent
  export DORMOUSE_TEST_BROWSER=required
}

# Looks for a browser that the driver can start, unless CHROMIUM names one already.
browser_found() {
  local name
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
    [ -n "$name" ] && CHROMIUM=$(command -v "$name") && export CHROMIUM && return 0
  done
  return 1
}

# Installs the system's package, where it is more than a pointer to another installer.
browser_install() {
  command -v apt-cache >/dev/null || return 1
  as_root apt-get update -qq
  apt-cache show chromium 2>/dev/null | grep '^Filename:' >/dev/null || return 1
  need_commands chromium=chromium
  browser_found
}
