# The Docker Engine that the tests use: the machine's own where one answers, otherwise one that is
# started here in the background and ended with the tests.

ENGINE_SOCKET=/var/run/docker.sock

engine_answers() {
  curl -fsS --max-time 5 --unix-socket "$ENGINE_SOCKET" http://engine/_ping >/dev/null 2>&1
}

engine_ready() {
  if engine_answers; then
    say "using the engine that answers at $ENGINE_SOCKET"
    return 0
  fi
  PATH="$PATH:/usr/sbin:/sbin" command -v dockerd >/dev/null ||
    need_commands docker.io=dockerd
  if [ -d /run/systemd/system ]; then
    as_root systemctl start docker
  else
    start_engine
  fi
  local waited=0
  until engine_answers; do
    [ $waited -lt 60 ] || die "no engine answers after $waited s" "see ${ENGINE_LOG:-the log of its service}"
    sleep 1
    waited=$((waited + 1))
  done
}

start_engine() {
  need_commands iptables=iptables iproute2=ip
  ENGINE_LOG=$(mktemp -t dormouse-engine-XXXXXX.log)
  say "starting an engine in the background (log: $ENGINE_LOG)"
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  # Nothing may stand between this shell and the engine that it has to end.
  "${root[@]}" env PATH="$PATH:/usr/sbin:/sbin" dockerd >"$ENGINE_LOG" 2>&1 &
  ENGINE_PID=$!
}

# Ends the engine, if it was started here.
end_engine() {
  [ -n "${ENGINE_PID:-}" ] || return 0
  as_root kill "$ENGINE_PID" 2>/dev/null || true
  wait "$ENGINE_PID" 2>/dev/null || true
}
