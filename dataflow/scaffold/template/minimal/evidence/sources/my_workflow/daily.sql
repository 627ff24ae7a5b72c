-- What the page counts and draws: my_workflow.daily, as dbt made it.
select
    day,
    sensor,
    readings,
    mean_temperature_c,
    min_temperature_c,
    max_temperature_c,
from my_workflow.daily
