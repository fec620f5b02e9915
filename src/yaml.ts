/**
 * The YAML form of scenarios, `tablewalk/yaml`: apart from the rest, since its parser and checker take longer to load
 * than everything else together.
 */
export { loadYamlScenario } from './userland/yaml/load.ts';
