#!/bin/sh
# Start the bundled PostgreSQL from any image that has its programs: on PATH, or where Debian puts them. Works under any
# UID and with a read-only root. The first start makes the database; every start sets the passwords of the Secrets anew, so
# that a volume that outlived them opens again, and makes the operator's login, which older volumes do not know.
set -eu
umask 0077
# NSS of initdb and of the single-user server wants a name for our UID. Kubernetes mounts what `identity` writes.
if [ "${1:-}" = identity ]; then
  printf 'root:x:0:0:root:/:/bin/false\n' >"$2/passwd"
  [ "$(id -u)" -eq 0 ] || printf 'postgres:x:%s:%s::/tmp:/bin/sh\n' "$(id -u)" "$(id -g)" >>"$2/passwd"
  chmod 0644 "$2/passwd"
  exit 0
fi
home=${PGHOME:-/var/lib/postgresql/data}
data=$home/pgdata new=$home/pgdata.new

bin=$(command -v postgres || true)
if [ -z "$bin" ]; then
  for found in /usr/lib/postgresql/*/bin/postgres /usr/local/pgsql/bin/postgres; do
    [ -x "$found" ] && bin=$found
  done
fi
[ -n "$bin" ] || { echo "this image has no PostgreSQL: set database.bundled.image" >&2; exit 1; }
bin=$(dirname "$(readlink -f "$bin")")
version=$("$bin/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')

single() {
  "$bin/postgres" --single -D "$1" -c logging_collector=off "$2" >/dev/null
}
quoted() {
  sed "s/'/''/g" "${IPAM_PASSWORDS:-/etc/ipam/passwords}/$1"
}
unless_there() {
  printf "do 'begin create role %s; exception when duplicate_object then null; end'\n" "$@"
}

if [ ! -d "$data" ]; then
  rm -rf "$new"
  "$bin/initdb" --pgdata="$new" --username=postgres --encoding=UTF8 --locale=C --data-checksums \
    --auth-local=trust --auth-host=scram-sha-256 >/dev/null
  echo "host all all all scram-sha-256" >>"$new/pg_hba.conf"
  # One statement per line: that is how a single-user server reads.
  single "$new" postgres <<SQL
create role ipam login
create database ipam owner ipam
SQL
  # Whoever is interrupted begins anew: the data are there once they have this name.
  mv "$new" "$data"
fi
stored=$(cat "$data/PG_VERSION")
if [ "$stored" != "$version" ]; then
  echo "the volume holds data of PostgreSQL $stored and this image is $version: go back to $stored, or dump and restore" >&2
  exit 1
fi
rm -f "$data/postmaster.pid" # of a pod that is gone: the volume is ours alone
single "$data" postgres <<SQL
alter role ipam password '$(quoted owner)'
$(unless_there ipam_operator ipam_tenant ipam_service)
alter role ipam_service login password '$(quoted operator)'
grant ipam_operator to ipam_service
SQL
# PID 1 without a shell around it: `kill -INT 1` before the pod ends asks for a fast shutdown.
exec "$bin/postgres" -D "$data" -c listen_addresses='*' -c port=5432 -c unix_socket_directories=/tmp \
  -c password_encryption=scram-sha-256 "$@"
