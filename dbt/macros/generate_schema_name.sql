{# The configured schema as it is. dbt's own rule would prefix it with the target's schema, and
   `earthquakes` would be called `main_earthquakes` in every query and dashboard. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
