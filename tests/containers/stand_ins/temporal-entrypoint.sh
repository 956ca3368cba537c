#!/bin/sh
set -eu
for database in temporal temporal_visibility; do
    PGPASSWORD=$POSTGRES_PWD psql --host "$POSTGRES_SEEDS" --port "$DB_PORT" \
        --username "$POSTGRES_USER" --dbname "$database" --command 'SELECT 1' > /dev/null
done
case $NUM_HISTORY_SHARDS in *[!0-9]* | '') exit 1 ;; esac
test -r "$DYNAMIC_CONFIG_FILE_PATH"
exec temporal server start-dev --disable-config-file --disable-config-env --headless \
    --ip "$BIND_ON_IP" --port 7233 --db-filename /var/lib/temporal/temporal.db --log-level warn \
    --sqlite-pragma journal_mode=WAL --sqlite-pragma synchronous=NORMAL \
    --dynamic-config-value frontend.enableCancelWorkerPollsOnShutdown=true \
    --dynamic-config-value frontend.enableServerVersionCheck=false
