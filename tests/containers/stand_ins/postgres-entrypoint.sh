#!/bin/sh
# What is used here of the entrypoint of PostgreSQL's image: a new volume gets a superuser with its
# password, a database, and what lies in /docker-entrypoint-initdb.d.
set -eu
user=${POSTGRES_USER:-postgres}
if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=$(cat "${POSTGRES_PASSWORD_FILE:-/dev/null}")
    file=$(mktemp)
    echo "${password:-${POSTGRES_PASSWORD:?}}" > "$file"
    mkdir -p "$PGDATA"
    initdb --username "$user" --pwfile "$file" --auth-local trust --auth-host scram-sha-256 \
        --encoding UTF8 --no-sync
    rm "$file"
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options "-c listen_addresses='' -k /run/postgresql" start
    if [ -n "${POSTGRES_DB:-}" ] && [ "$POSTGRES_DB" != postgres ]; then
        createdb --username "$user" "$POSTGRES_DB"
    fi
    for script in /docker-entrypoint-initdb.d/*.sh; do
        [ ! -e "$script" ] || sh "$script"
    done
    pg_ctl --wait --mode fast stop
fi
program=$1
shift
exec "$program" -c listen_addresses='*' -k /run/postgresql "$@"
