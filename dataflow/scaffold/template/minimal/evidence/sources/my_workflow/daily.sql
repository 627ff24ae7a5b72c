-- The data of the page: my_workflow.daily, built by dbt.
select
    day,
    sensor,
    readings,
    mean_temperature_c,
    min_temperature_c,
    max_temperature_c,
from my_workflow.daily
