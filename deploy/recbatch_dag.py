"""A night of film recommendations as an Airflow DAG; for Airflow 3, in its folder of DAGs."""

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "recbatch",
    # As schedule.cron says, in the zone of start_date, which is that of schedule.timezone.
    schedule="30 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,  # a run uses all ratings: missed nights are not made up one by one
    max_active_runs=1,
    default_args={
        "retries": 0
    },  # a night that was refused would be refused again; a person looks first
):
    (
        BashOperator(
            task_id="night",
            cwd="/srv/recbatch",
            # exec: SIGTERM reaches the job itself
            bash_command="exec .venv/bin/recbatch run --scheduled-for latest",
            env={"RECBATCH_DATABASE__URL_FILE": "/srv/recbatch/database_url"},
            append_env=True,
            skip_on_exit_code=75,  # another job is at work
        )
        >> BashOperator(
            task_id="check",
            cwd="/srv/recbatch",
            bash_command="exec .venv/bin/recbatch check",
            env={"RECBATCH_DATABASE__URL_FILE": "/srv/recbatch/database_url"},
            append_env=True,
        )
    )
