#!/bin/sh
# Creates the database as the tool does. It has no schema to set up: the server keeps it in SQLite.
set -eu
[ "$1" = --db ]
database=$2 command=$3
export PGHOST="$SQL_HOST" PGPORT="$SQL_PORT" PGUSER="$SQL_USER" PGPASSWORD="$SQL_PASSWORD"
case $command in
    create)
        psql --dbname postgres --tuples-only --no-align --set name="$database" <<'SQL' | grep -q 1 ||
SELECT 1 FROM pg_database WHERE datname = :'name';
SQL
            createdb "$database"
        ;;
    setup-schema | update-schema) psql --dbname "$database" --command 'SELECT 1' > /dev/null ;;
    *) exit 1 ;;
esac
