/**
 * The bundle's entry. Airflow looks for a component under the name of the app that it shows, then under AirflowPlugin. A
 * module runs once per page load and Airflow clears the second name before each import, so ours stays under the first.
 */

import { App } from "./App";

Reflect.set(globalThis, "ML", App);

export default App;
