import { useQuery } from "@tanstack/react-query";
import { templateSets } from "../../api/queries";

/** Whether a name, with its version or without, is that of an uploaded set; undefined while that is not known. */
export function useIsUploaded(reference: string): boolean | undefined {
  const { data, isError } = useQuery(templateSets);
  if (isError) return false;
  return data?.some((set) => set.name === reference.split("@")[0] || set.id === reference);
}
