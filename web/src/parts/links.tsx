/** Buttons and menu entries that go somewhere: real links, so that they open in a new tab too. */

import { Button, Menu, type ButtonProps, type MenuItemProps } from "@mantine/core";
import { createLink } from "@tanstack/react-router";
import type { AnchorHTMLAttributes, Ref } from "react";

type InLink<T> = T & Omit<AnchorHTMLAttributes<HTMLAnchorElement>, keyof T> & { ref?: Ref<HTMLAnchorElement> };

export const LinkButton = createLink((props: InLink<ButtonProps>) => <Button component="a" {...props} />);

export const LinkItem = createLink((props: InLink<MenuItemProps>) => <Menu.Item component="a" {...props} />);
