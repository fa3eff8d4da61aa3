// Light and dark: what the system prefers, unless the switch says otherwise.

type Choice = "system" | "light" | "dark";

const kKey = "brood-theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");
const listeners: (() => void)[] = [];

function stored(): Choice {
  try {
    const value = localStorage.getItem(kKey);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system"; // storage may be forbidden
  }
}

let choice = stored();

export function isDark(): boolean {
  return choice === "dark" || (choice === "system" && system.matches);
}

function apply(): void {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  for (const listener of listeners) listener();
}

export function switchTheme(): void {
  choice = isDark() ? "light" : "dark";
  try {
    localStorage.setItem(kKey, choice);
  } catch {
    // then it holds until the page is loaded again
  }
  apply();
}

export function onThemeChange(listener: () => void): void {
  listeners.push(listener);
}

system.addEventListener("change", apply);
apply();
