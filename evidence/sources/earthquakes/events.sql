-- One row per earthquake: what every number and chart of the page is counted from,
-- so that the page's filters reach all of them.
select
    event_id,
    occurred_at,
    local_day,
    magnitude,
    magnitude_band,
    place,
    region,
    depth_km,
    is_reviewed,
    has_tsunami_flag,
    url,
from earthquakes.events
