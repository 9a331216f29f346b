// The page with a server behind it: which view the address means, and what the graph page gains by a model.
import type { ComponentType } from "preact";
import { AttentionPage } from "../attention/attention";
import { Carriers } from "../attention/carriers";
import { LiveSource } from "../sources/live";
import type { DataSource } from "../sources/source";
import { told } from "../state/session";
import { Toast } from "../ui/App";
import { DialogHost } from "../ui/dialog";
import { slots } from "../ui/slots";
import { Answer } from "./answer";
import { Lost, Model, Runs, Ways } from "./bar";
import { ComparePage } from "./compare";
import { FeaturePage, FeaturesPage } from "./feature";
import { Side, Start } from "./graphs";
import "./live.css";
import { QueueButton, showQueue } from "./queue";
import { type Route, routeOf } from "./route";
import { openId, refresh, watch } from "./state";
import { askTrace } from "./trace";

/** Where graphs come from; a page of its own, where the address means no graph. */
export interface Host {
  readonly source?: DataSource;
  readonly page?: ComponentType;
}

export function live(): Host {
  // The token has done its work when the page is here.
  if (location.search.startsWith("?token=")) history.replaceState(null, "", location.pathname + location.hash);
  const route = routeOf(location.pathname);
  watch();
  if (route.view !== "graph") {
    if (route.view === "attention") openId.value = route.id;
    if (route.view === "start") void refresh();
    return { page: () => <Frame route={route} /> };
  }
  openId.value = route.id;
  void refresh();
  slots.side.value = Side;
  slots.bar.value = [Ways, QueueButton, Model, Lost, Runs];
  slots.whatIf.value = Answer;
  slots.detail.value = [Carriers];
  slots.commands.value = [
    { menu: "Page", name: "Trace a prompt", key: "n", run: () => askTrace() },
    { menu: "Page", name: "Claims, and their tests", key: "c", run: showQueue },
  ];
  return { source: new LiveSource(route.id) };
}

function Frame({ route }: { route: Route }) {
  return (
    <div class="live-page">
      <header class="top">
        <div class="bar">
          <h1>Micrographia</h1>
          <Ways />
          <Model />
          <Lost />
          <Runs />
        </div>
      </header>
      <main>
        <View route={route} />
      </main>
      <DialogHost />
      <Toast />
      <p class="unseen" role="status" aria-live="polite">
        {told.value}
      </p>
    </div>
  );
}

function View({ route }: { route: Route }) {
  switch (route.view) {
    case "attention":
      return <AttentionPage id={route.id} />;
    case "compare":
      return <ComparePage id={route.id} other={route.other} />;
    case "feature":
      return <FeaturePage layer={route.layer} index={route.index} />;
    case "features":
      return <FeaturesPage />;
    default:
      return <Start />;
  }
}
