#!/usr/bin/env python3
"""Prints TypeScript that compiles if the dashboards are of Grafana's types: python3 schema.py > dashboards.ts

Literals, so that names which a type does not know are refused, too. Enums are loosened to what they stand for.
"""
import json
import pathlib

KINDS = {"stat": "Stat", "timeseries": "TimeSeries", "table": "Table", "barchart": "BarChart"}

print("import type { Dashboard, GraphFieldConfig, Panel, RowPanel, TableFieldOptions, VariableModel } from '@grafana/schema';")
for kind, name in KINDS.items():
    print(f"import type {{ Options as {name} }} from '@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen';")
print("""
type Loose<T> =
  T extends string ? (string extends T ? T : `${T}`) :
  T extends number ? (number extends T ? T : `${T}` extends `${infer N extends number}` ? N : never) :
  T extends object ? { [K in keyof T]: Loose<T[K]> } : T;
""")
for file in sorted(pathlib.Path(__file__).parent.glob("*.json")):
    dashboard = json.loads(file.read_text(encoding="utf-8"))
    panels = dashboard.pop("panels")
    templating = dashboard.pop("templating")["list"]
    # Annotations carry what their data source asks for.
    annotations = dashboard.pop("annotations")["list"]
    known = [{key: one[key] for key in ("name", "datasource", "enable", "hide", "iconColor")} for one in annotations]

    def literal(type, value):
        print(f"({json.dumps(value, ensure_ascii=False)}) satisfies {type}; // {file.name}")

    literal("Loose<Dashboard>", dashboard)
    for one in known:
        literal("Loose<NonNullable<NonNullable<Dashboard['annotations']>['list']>[number]>", one)
    for variable in templating:
        # `definition` is Grafana's own, of variables that ask a data source.
        variable.pop("definition", None)
        literal("Loose<VariableModel>", variable)
    for panel in panels:
        if panel["type"] == "row":
            literal("Loose<RowPanel>", panel)
            continue
        literal(f"Partial<Loose<{KINDS[panel['type']]}>>", panel["options"])
        custom = panel["fieldConfig"]["defaults"].get("custom")
        if custom:
            literal("Loose<GraphFieldConfig>", custom)
        for override in panel["fieldConfig"]["overrides"]:
            for property in override["properties"]:
                if property["id"].startswith("custom.") and panel["type"] == "table":
                    literal("Partial<Loose<TableFieldOptions>>", {property["id"].removeprefix("custom."): property["value"]})
        literal("Loose<Panel>", panel)
