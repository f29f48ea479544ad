// Light and dark, in the product's colour: as the system says, until somebody chooses.
import { createDarkTheme, createLightTheme, type BrandVariants, type Theme } from "@fluentui/react-components";
import { useEffect, useState, useSyncExternalStore } from "react";

const KEY = "strongroom.theme";
export type Choice = "light" | "dark" | "system";

const brand: BrandVariants = {
  10: "#010607", 20: "#06191b", 30: "#08292d", 40: "#08363b", 50: "#074349", 60: "#065158", 70: "#075f67", 80: "#0b6a72",
  90: "#207c84", 100: "#388d95", 110: "#509ea5", 120: "#69afb5", 130: "#84c0c5", 140: "#9fd0d4", 150: "#bbe0e3", 160: "#d9f0f1",
};

export const light: Theme = createLightTheme(brand);
export const dark: Theme = {
  ...createDarkTheme(brand),
  colorBrandForeground1: brand[120],
  colorBrandForeground2: brand[130],
  colorBrandForegroundLink: brand[130],
  colorBrandForegroundLinkHover: brand[140],
  colorCompoundBrandForeground1: brand[120],
  colorNeutralForeground2BrandSelected: brand[130],
};

const asked = window.matchMedia("(prefers-color-scheme: dark)");

function subscribe(listener: () => void): () => void {
  asked.addEventListener("change", listener);
  return () => asked.removeEventListener("change", listener);
}

export function useTheme(): { choice: Choice; isDark: boolean; choose: (choice: Choice) => void } {
  const [choice, setChoice] = useState<Choice>(() => (localStorage.getItem(KEY) as Choice | null) ?? "system");
  const system = useSyncExternalStore(subscribe, () => asked.matches);
  const isDark = choice === "dark" || (choice === "system" && system);
  useEffect(() => {
    document.documentElement.style.colorScheme = isDark ? "dark" : "light";
  }, [isDark]);
  const choose = (next: Choice) => {
    localStorage.setItem(KEY, next);
    setChoice(next);
  };
  return { choice, isDark, choose };
}
